"""Explorer: images, adversarial examples and feature paths of all runs -> a page that shows test images one by one."""

from dataclasses import fields, replace

from featurepaths.report.explorer.contents import Sources
from featurepaths.report.explorer.page import explorer_page
from featurepaths.stages import cli
from featurepaths.store.atomic import atomic
from featurepaths.store.code_digest import artefact_digest
from featurepaths.store.provenance import read_version


def main(arguments):
    origin = cli.origin_of_record(arguments)
    # the record lies in the experiment's folder, which has any name
    name = cli.output_of(arguments).name
    digest = cli.check_inputs(arguments, {path: read_version(path) for path in cli.inputs_of(arguments)})
    origin = replace(origin, name=name, digest=artefact_digest(digest, name))
    sources = Sources(**{field.name: getattr(arguments, field.name) for field in fields(Sources)})
    page = arguments.record.with_name("explore.html")
    with atomic(page) as temporary:
        temporary.write_bytes(explorer_page(sources, arguments.settings.model_dump()))
    cli.write_record(arguments.record, origin, [page.name])


if __name__ == "__main__":
    cli.run("explorer", main)
