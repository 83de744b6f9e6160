# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a visitor of the page can do something about."""


class UserError(ValueError):
    """Its message is shown on the page: what was wrong and what to do, without paths."""
