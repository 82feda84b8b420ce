"""view owns figures and the report: pages made of finished folders, read-only. It never touches a live world."""

from simworld.view._report import write_report

__all__ = ["write_report"]
