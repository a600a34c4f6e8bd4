"""What the steps of a build may reach beyond their own files, and who allows it.

    RUN --network=host         asks for the host's network: the person who builds must agree,
                               by --allow network.host, or by --network host for all steps
    RUN --network=default      the build's own mode, --network
    ADD https://…, ADD …git    fetched by the build itself; under --network none refused

A Dockerfile may come from anybody, and ONBUILD brings instructions from images that nobody has
read: every RUN gets its network from here, every ADD asks here before it fetches. Images that FROM
and --from name are pulled under every mode (docs/decisions/0019-build-network-none.md).

Source: BuildKit's entitlements, docs.docker.com/reference/cli/docker/buildx/build "--allow".
"""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.options import Options
    from minidock.engine.dockerfile.instruction import Instruction

HOST_NETWORK = "network.host"
INSECURE = "security.insecure"


class EntitlementRefused(MinidockError):
    """A build asks for a right that the person who builds has not given, or cannot give."""

    exit_code = 1


def read_entitlements(texts: list[str]) -> set[str]:
    """The rights that --allow names.

    Raises EntitlementRefused, in BuildKit's words.
    """
    given = {name for text in texts for name in text.split(",") if name}
    for name in sorted(given - {HOST_NETWORK, INSECURE}):
        raise EntitlementRefused(
            f"unknown entitlement {name}", hint=f"{HOST_NETWORK} is the only one that can be given"
        )
    if INSECURE in given:
        raise EntitlementRefused(
            f"failed to solve: granting entitlement {INSECURE} is not allowed by build daemon "
            "configuration",
            hint="no RUN has more rights than a container of `minidock run`",
        )
    return given


def run_network(instruction: Instruction, options: Options) -> str:
    """The network of a RUN: "default", "none" or "host".

    Raises EntitlementRefused for a host's network that nobody has allowed.
    """
    asked = instruction.flag("network") or "default"
    network = options.network if asked == "default" else asked
    if network == "host" and not may_use_host_network(options):
        raise EntitlementRefused(
            f"failed to load LLB: {HOST_NETWORK} is not allowed",
            hint=f"RUN --network=host needs your consent: build --allow {HOST_NETWORK}",
        )
    return network


def may_use_host_network(options: Options) -> bool:
    """Whether the person who builds lets steps use the host's network."""
    return options.network == "host" or HOST_NETWORK in options.allowed


def check_fetch(url: str, options: Options) -> None:
    """Raise DockerfileError where an ADD must not fetch a URL."""
    if options.network == "none":
        raise DockerfileError(
            f"failed to fetch {url}: the build has no network (--network none)",
            hint="fetch it before the build and COPY it, or build with the network",
        )
