"""The command ``vedette``."""

from __future__ import annotations

import typer

from vedette.cli import backup, check_config, demo, export, import_files, rules, serve

app = typer.Typer(
    name="vedette",
    help="Production monitoring for web applications and AI chatbots, in one process.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("check-config")(check_config.check_config)
app.command("import")(import_files.import_files)
app.command("export")(export.export)
app.command("snapshot")(backup.snapshot)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(rules.app, name="rules")


if __name__ == "__main__":
    app()
