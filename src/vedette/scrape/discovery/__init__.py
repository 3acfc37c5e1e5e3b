"""Where targets come from: one module a mechanism, all behind the Protocol ``Discovery``."""
