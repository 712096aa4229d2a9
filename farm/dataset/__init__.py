"""Data sets as things to make: sources named and put into packs, and what is written when all packs are done."""

from __future__ import annotations

from farm.dataset.chosen import Chosen, choose
from farm.dataset.finish import Counted, check_root, finish, withdraw
from farm.dataset.packs import Packs, plan_packs, rows_of_pack

__all__ = ["Chosen", "Counted", "Packs", "check_root", "choose", "finish", "plan_packs", "rows_of_pack", "withdraw"]
