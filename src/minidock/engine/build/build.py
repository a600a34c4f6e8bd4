"""`build`: make an image from a Dockerfile and a build context.

    1  read       the context, the Dockerfile, its stages         (context.py, stage_plan.py)
    2  find       the base images of the needed stages; pull missing ones
    3  build      the needed stages in parallel                   (stage.py, stages.py)
    4  export     the final state of the target as an image       (stage_state.py)

Unfinished work lies in one entry of staging/, under a lock that the kernel drops when this process
ends. RUN steps are containers; their monitors end them when the build is killed. A killed build
leaves only its finished layers, in the build cache.

Sources: docs.docker.com/reference/dockerfile; docs.docker.com/reference/cli/docker/buildx/build.
"""

from __future__ import annotations

from minidock.engine.build.base_images import full_name
from minidock.engine.build.builder import Builder
from minidock.engine.build.context_source import open_context
from minidock.engine.build.failure import build_failed
from minidock.engine.build.options import Options, Result
from minidock.engine.build.stage_plan import plan
from minidock.engine.build.stage_state import image_document
from minidock.engine.build.stages import build_stages
from minidock.engine.build.step_sources import StepSources
from minidock.engine.dockerfile.parser import parse
from minidock.engine.image.build_cache import Cache
from minidock.engine.image.image import NewImage
from minidock.engine.image.images import ImageStore
from minidock.engine.image.lock import settle_images
from minidock.engine.store.store import Staging
from minidock.errors import Conflict, MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.failure import Failure
    from minidock.engine.build.progress import Progress
    from minidock.engine.build.stage_state import State
    from minidock.engine.dockerfile.instruction import Dockerfile
    from minidock.paths import Store


def build(store: Store, options: Options, progress: Progress) -> Result:
    """Build an image.

    Raises BuildFailed with the Dockerfile's lines and the output of the failed step; before the
    first step, the errors of the context and the store.
    """
    settle_images(store)
    with (
        Cache(store) as cache,
        Staging(store, "build") as staging,
        open_context(options, staging.path, progress) as context,
    ):
        failures: list[Failure] = []
        try:
            dockerfile = parse(context.dockerfile, name=context.dockerfile_name)
            planned = plan(dockerfile, build_args=options.build_args, target=options.target)
            builder = Builder(store, options, planned, context, cache, staging.path, progress)
            failures = builder.failures
            with StepSources(builder) as files:
                builder.find_images()
                builder.check_entitlements()
                image_id = export(builder, build_stages(builder, files))
            return Result(image_id, [*_continuation_warnings(dockerfile), *builder.warnings()])
        except BrokenPipeError:
            raise  # the reader of the progress output has exited
        except (MinidockError, OSError) as error:
            raise build_failed(error, failures, context) from error
        except RecursionError:
            raise Conflict("the directories to copy are nested too deeply") from None


def export(builder: Builder, state: State) -> str:
    """Make an image of the target's state; an older image of the same name becomes <none>.

    Returns the image ID.
    """
    from minidock.jsontext import dumps

    vertex = builder.progress.vertex("exporting to image")
    vertex.begin()
    document = image_document(state, builder.options.labels)
    image = NewImage(dumps(document).encode(), state.chain_ids, builder.options.tags)
    missing, _ = ImageStore(builder.store).add_all([image], {})
    if missing:
        raise Conflict(
            f"the layer {missing[0]} was removed while the image was being built",
            hint="build it again; the remaining layers come from the cache",
        )
    vertex.say(f"writing image {image.id} done")
    for name in builder.options.tags:
        vertex.say(f"naming to {full_name(name)} done")
    vertex.done()
    return image.id


def _continuation_warnings(dockerfile: Dockerfile) -> list[str]:
    """Docker's warnings about blank lines within a continued instruction."""
    return [
        f"Empty continuation line found in: {instruction.source}"
        for instruction in dockerfile.instructions
        if any(
            instruction.first_line <= line <= instruction.last_line
            for line in dockerfile.empty_continuations
        )
    ]
