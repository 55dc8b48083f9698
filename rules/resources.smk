"""What jobs ask for: memory, time, GPUs, and where files are read from. None of it makes anything out of date. No rule."""

from shutil import which

from featurepaths.experiment.resources import Estimator

ESTIMATOR = Estimator(EXPERIMENT, EXTERNAL.size)
THREADS = EXPERIMENT.torch_threads
GPU_HERE = which("nvidia-smi") is not None


def gpu(w):
    """Return how many GPUs a network's job asks for: on a cluster one, unless `device` is cpu."""
    there = workflow.non_local_exec or GPU_HERE
    return int({"cpu": False, "cuda": True, "auto": there}[EXPERIMENT.device])


def gpu_to_stream(w):
    """Return how many GPUs a job asks for that runs a network only where features are streamed."""
    return gpu(w) if PLAN.streams else 0


def needs(name, w):
    """Return what the estimator's method `name` estimates, for the wildcards that it takes."""
    method = getattr(ESTIMATOR, name)
    on_gpu = {"gpu": bool(gpu_to_stream(w) if name == "detectors" else gpu(w))}
    return method(**{key: on_gpu[key] if key in on_gpu else getattr(w, key) for key in signature(method).parameters})


def memory(name):
    """Return the resource function for the memory of a job, in MB; more in every attempt."""
    return lambda w, attempt: attempt * needs(name, w).mb


def minutes(name, times=1):
    """Return the resource function for the time of a job that does `times` times as much; more in every attempt."""
    return lambda w, attempt: attempt * times * needs(name, w).minutes


PLACES = ("train", "test", "title") if EXPERIMENT.data.source == "arrays" else ("root", "title")
DATA_FROM = " ".join(
    f"--{place}={quote(value)}" for place in PLACES if (value := getattr(EXPERIMENT.data, place, None)) is not None
)
if getattr(EXPERIMENT.data, "download", False):
    DATA_FROM += " --download"


def adversarial_from(w):
    """Return the option for the file of precomputed adversarial images."""
    attack = EXPERIMENT.attacks[w.attack]
    file = attack.files.get(w.split) if attack.method == "precomputed" else None
    return f"--file={quote(file)}" if file else ""


def weights_from(w):
    """Return the option for the weights of a pretrained network."""
    model = EXPERIMENT.pretrained(Run.parse(w.run).model)
    return f"--weights={quote(model.checkpoint)}" if model.checkpoint else ""


def layers_needed(w):
    """Return the option for the number of layers that the configuration needs: no result depends on it."""
    return " ".join(["--needs", *(f"{key}={number}" for key, number in EXPERIMENT.named_layers.items())])
