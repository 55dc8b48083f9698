"""One artefact of every kind of the experiment `tiny`, and everything that it holds."""

import h5py

from featurepaths.networks.checkpoint import load_checkpoint
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_json
from featurepaths.store.provenance import read_origin

RUN, OTHER = "small-standard-s0", "small-adversarial-s0"
KINDS = {
    "data": "data.h5",
    "checkpoint": f"{RUN}/checkpoint.safetensors",
    "attack": f"{RUN}/attacks/test.apgd.h5",
    "features": f"{RUN}/features/mean/test.h5",
    "centroids": f"{RUN}/centroids/mean.h5",
    "collapse": f"{RUN}/collapse/mean.json",
    "paths": f"{RUN}/paths/mean/test.h5",
    "threshold": f"{RUN}/thresholds/mean/feature-paths.held-out.json",
    "selection": f"{RUN}/selection/mean/held-out.json",
    "detectors": f"{RUN}/detectors/mean.h5",
    "detection": f"{RUN}/detection/mean/feature-paths.apgd.max-loss.json",
    "adaptive": f"{RUN}/adaptive/flatten.h5",
    "controls": f"{RUN}/controls/flatten.json",
    "record": "tables/tables.json",
}


def read(path):
    """Everything that an artefact says, to be compared."""
    match path.suffix:
        case ".json":
            document = read_json(path)
            return {name: repr(value) for name, value in document.items()}
        case ".safetensors":
            network, description = load_checkpoint(path)
            return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()} | {
                "description": repr(description)
            }
    content = {"origin": repr(read_origin(path))}
    with open_hdf5(path) as file:
        file.visititems(
            lambda name, item: content.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
        )
    return content
