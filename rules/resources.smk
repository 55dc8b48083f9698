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
    return method(**{key: on_gpu[key] if key in on_gpu else getattr(w, key) for key in parameters_of(method)})


def resources_of(name, times=1):
    """Return the memory in MB, and the minutes of a job that does `times` times as much; more in every attempt."""
    return {
        "mem_mb": lambda w, attempt: attempt * needs(name, w).mb,
        "runtime": lambda w, attempt: attempt * times * needs(name, w).minutes,
    }


def on_device(name):
    """Return the same of a job that runs a network, with the device to run on, and a GPU if there is one."""
    return {"gpu": gpu, "device": EXPERIMENT.device, **resources_of(name)}
