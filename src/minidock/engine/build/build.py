"""`build`: from a Dockerfile and a context to an image. This is the screen to project.

    1  read       the context, the Dockerfile, its stages         (context.py, stage_plan.py)
    2  look       the images that needed stages begin from, pulled if they are not here
    3  build      the needed stages, side by side                 (stage.py, stages.py)
    4  export     the last state becomes an image                 (stage_state.py)

All that is not finished lies in one entry of staging/, with a lock that the kernel drops when this
process ends; RUN steps are containers whose monitors end them then. So a build that is killed
leaves nothing but the layers that it had finished, which are in the cache.

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

    Raises BuildFailed, which says the line and what the step said; and before there are steps,
    what the context or the store refuses.
    """
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
            raise  # who read our progress has gone
        except (MinidockError, OSError) as error:
            raise build_failed(error, failures, context) from error
        except RecursionError:
            raise Conflict("the files to copy are in folders that are nested too deeply") from None


def export(builder: Builder, state: State) -> str:
    """Make the image of the target's state; an image whose name it takes becomes <none>.

    Returns its id.
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
            hint="build it again; what is left of it comes from the cache",
        )
    vertex.say(f"writing image {image.id} done")
    for name in builder.options.tags:
        vertex.say(f"naming to {full_name(name)} done")
    vertex.done()
    return image.id


def _continuation_warnings(dockerfile: Dockerfile) -> list[str]:
    """What Docker warns of: blank lines inside of an instruction that goes on below them."""
    return [
        f"Empty continuation line found in: {instruction.source}"
        for instruction in dockerfile.instructions
        if any(
            instruction.first_line <= line <= instruction.last_line
            for line in dockerfile.empty_continuations
        )
    ]
