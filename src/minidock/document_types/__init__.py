"""The types of the JSON documents that minidock reads and writes: TypedDicts, for mypy only.

    container       container.json, in the form of `docker inspect`; the body of ContainerCreate
    host_config     its HostConfig
    network         networks/<name>.json with the leases; published ports; `network inspect`
    image           an image's config, images.json, layer.json, descriptors; `image inspect`
    store           volume.json, events, records of the build cache
    system          `info`
    message         what commands and monitors send to each other
    runtime_spec    the runtime's config.json, state.json and OCI state
    (kernel/record.py: the records of a journal)

A type says what minidock writes, and what a reader may rely on once the document was validated
(document.py): a field is NotRequired where a valid document may lack it, and `| None` where its
value may be null. Of container.json, only what the code relies on is validated. Modules
import these types under TYPE_CHECKING only; at run time nothing imports this package.
"""
