# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Hooks."""

from .vocabulary_check import VocabularyCheckHook

__all__ = ['VocabularyCheckHook']
