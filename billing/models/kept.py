"""Rows of money: the application inserts them, changes only a few of their columns, and never deletes them.

The database makes all other changes.
"""

from typing import Any, ClassVar

from django.db import models


class Kept(models.Model):
    """The application's role may update the columns of MAY_CHANGE and no others (`billing.ledger.walls.privileges`)."""

    MAY_CHANGE: ClassVar[tuple[str, ...]] = ()

    class Meta:
        abstract = True

    def save(self, *args: Any, **options: Any) -> None:
        """Save as Django does, but a save of the whole row writes only the columns in MAY_CHANGE and those that differ.

        So a save that changes nothing passes, and the database refuses one that changes an amount.
        """
        is_whole = not args and options.get("update_fields") is None and not options.get("force_insert")
        if is_whole and not self._state.adding and self.pk is not None:
            options["update_fields"] = self._changes()
        super().save(*args, **options)

    def _changes(self) -> list[str]:
        """Return the columns to write. One query, which the path of an answer avoids by naming its fields."""
        columns = [field.attname for field in self._meta.concrete_fields if not (field.primary_key or field.generated)]
        row = type(self)._base_manager.filter(pk=self.pk)  # noqa: SLF001  (which Django documents)
        stored = row.values(*columns).first() or {}
        return [name for name in columns if name in self.MAY_CHANGE or stored.get(name) != getattr(self, name)]
