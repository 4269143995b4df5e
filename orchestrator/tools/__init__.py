"""The wrapped programs as data: their argv, the judges of their answers, and what their failures mean.

Pure: argv is built here and run elsewhere. Sources are named at each function; `foundation.md` and `gitops-storage.md` are the
project's domain references.
"""

from orchestrator.tools.classify import Class, classify
from orchestrator.tools.private import is_private
from orchestrator.tools.reads import READ_VERBS, is_read

__all__ = ["READ_VERBS", "Class", "classify", "is_private", "is_read"]
