"""Go's ``text/template``: reading and executing templates, bounded in steps and output.

The language is described in the documentation of Go's package ``text/template``; what differs is
said in :mod:`vedette.rules.gotemplate.execute`. The package is pure.
"""
