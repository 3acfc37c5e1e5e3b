"""The chat application's own page: enough to talk to it in a browser."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Demo shop: chat</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto }
  output { display: block; white-space: pre-wrap; min-height: 6rem; margin-top: 1rem }
  input { width: 70%; padding: .5rem } button { padding: .5rem 1rem }
</style>
<h1>Ask the demo shop</h1>
<p>A chat application that is watched by Vedette. Its answers come from the demo's provider.</p>
<form><input name="message" aria-label="Your question" value="Where is my order?" required>
<button>Ask</button></form>
<output aria-live="polite"></output>
<script>
  const form = document.querySelector("form"), out = document.querySelector("output")
  form.addEventListener("submit", async (event) => {
    event.preventDefault()
    out.textContent = ""
    const answer = await fetch("/api/chat", {
      method: "POST",
      body: JSON.stringify({ message: form.message.value, client_id: "browser" }),
    })
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    let text = ""
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      text += value
      const events = text.split("\\n\\n")
      text = events.pop()
      for (const one of events) {
        const [kind, data] = one.split("\\n").map((line) => line.replace(/^\\w+: /, ""))
        const said = JSON.parse(data)
        if (kind === "token") out.textContent += said.text
        if (kind === "error") out.textContent += ` [${said.message}]`
      }
    }
  })
</script>
</html>
"""
