"""A campaign at work: its config and components, its store, its funnel on the screen, its processes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.progress import LiveFunnel
from invdesign.campaign.store import Store
from invdesign.io.parallel import default_workers, process_pool


@dataclass(frozen=True)
class Session:
    """What the phases of a campaign work with.

    Attributes:
        config: the campaign.
        components: what it is made of.
        store: of its candidates.
        live: the funnel, counted and shown.
        executor: takes the units of work; None: this process.
    """

    config: CampaignConfig
    components: Components
    store: Store
    live: LiveFunnel
    executor: Executor | None

    @classmethod
    @contextmanager
    def begin(
        cls,
        config: CampaignConfig,
        components: Components,
        store: Store,
        executor: Executor | None,
        *,
        title: str,
        progress: bool,
    ) -> Iterator[Self]:
        """Show the funnel and, without an executor, start one process per core."""
        with ExitStack() as stack:
            live = stack.enter_context(LiveFunnel(title, show=progress))
            if executor is None and (workers := config.workers or default_workers()) > 1:
                executor = stack.enter_context(process_pool(workers))
            yield cls(config, components, store, live, executor)
