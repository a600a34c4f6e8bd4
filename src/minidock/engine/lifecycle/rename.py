"""rename: change a container's name, also in the DNS of its networks."""

from __future__ import annotations

import os

from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import find
from minidock.engine.container.name_links import claim_name
from minidock.engine.container.network_aliases import dns_names, has_dns_names, refresh_dns_names
from minidock.engine.container.validation import check_name
from minidock.engine.network import networks
from minidock.engine.store.locks import exclusive
from minidock.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


def rename(store: Store, reference: str, new_name: str) -> None:
    """Change a container's name.

    Raises Conflict if the name is taken.
    """
    check_name(new_name)
    container = find(store, reference)
    if container.name == new_name:
        raise Conflict(
            "Renaming a container with the same name as its current name",
            hint="choose another name",
        )
    with exclusive(f"{store.containers}/.lock"), container.editing():
        container.reload()
        old_name = container.name
        claim_name(store, new_name, container.id)
        container.document["Name"] = "/" + new_name
        refresh_dns_names(container.document)
        container.save()
        if has_dns_names(container.document):
            networks.set_dns_names(
                store, container.id, lambda network: dns_names(container.document, network) or []
            )
        os.unlink(store.name(old_name))
    emit_container(container, "rename", oldName=f"/{old_name}")
