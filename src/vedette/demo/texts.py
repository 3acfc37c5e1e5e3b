"""What the demo's customers ask and its assistant answers."""

from __future__ import annotations

import random

POPULAR_QUESTIONS = (
    "Where is my order?",
    "How do I return an item?",
    "Which sizes do you have in stock?",
    "Do you ship abroad?",
    "How can I pay?",
    "When do you open on Saturday?",
    "Is there a discount for students?",
    "How long is the guarantee?",
)

POPULAR_SENTENCES = (
    "Thank you for your question, I am glad to help.",
    "You can return any item within thirty days, free of charge.",
    "Orders leave our warehouse on the next working day.",
    "We accept cards, bank transfer and payment on invoice.",
    "The guarantee covers two years from the day of purchase.",
    "Is there anything else that I can do for you?",
)

_PARTICULAR_SENTENCES = (
    "Your parcel {n} was handed to the carrier this morning and arrives within two days.",
    "I have found article {n} in the colour that you asked for, and it is in stock.",
    "Voucher {n} is valid until the end of the month and can be used once.",
    "The shop in your town keeps {n} pieces of it, and they hold one for you until tonight.",
)

POPULAR_QUESTION_SHARE = 0.67
POPULAR_SENTENCE_SHARE = 0.57


def question(rng: random.Random) -> str:
    """Return what a customer asks: mostly one of the usual questions, else one of its kind."""
    if rng.random() < POPULAR_QUESTION_SHARE:
        return rng.choice(POPULAR_QUESTIONS)
    return f"What about my order number {rng.randrange(10**8)}?"


def sentence(rng: random.Random) -> str:
    """Return a sentence of an answer: mostly one that was said before."""
    if rng.random() < POPULAR_SENTENCE_SHARE:
        return rng.choice(POPULAR_SENTENCES)
    return rng.choice(_PARTICULAR_SENTENCES).format(n=rng.randrange(10**8))


def tokens(text: str) -> list[str]:
    """Return ``text`` in pieces as a language model emits them: words with their leading space."""
    pieces = []
    for index, word in enumerate(text.split(" ")):
        spaced = word if index == 0 else f" {word}"
        # Long words come in two tokens, as they do from a real vocabulary.
        cut = len(spaced) if len(spaced) < 10 else 6
        pieces += [part for part in (spaced[:cut], spaced[cut:]) if part]
    return pieces
