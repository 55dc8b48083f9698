"""Resources of jobs: memory, time, GPUs, and places of input files. Their changes make nothing out of date. No rule."""

from functools import cache

from featurepaths.experiment.limits import largest_partition, machine_gpus, machine_memory_mb, parse_resources
from featurepaths.experiment.resources import Estimator
from featurepaths.workflow.submission import check_python, quote_status_command

THREADS = EXPERIMENT.torch_threads

# Executors that submit jobs to other machines need `--jobs`; where jobs run here, Snakemake takes it for `--cores`.
LOCAL = workflow.resource_settings.nodes is None
ESTIMATOR = Estimator(EXPERIMENT, EXTERNAL.size, here=LOCAL)
STARTS_JOBS_HERE = LOCAL and workflow.is_main_process
GPUS_HERE = machine_gpus() if STARTS_JOBS_HERE else 0
USES_GPU = {"cpu": False, "cuda": True, "auto": GPUS_HERE > 0 or not STARTS_JOBS_HERE}[EXPERIMENT.device]

# Jobs that run here at the same time have to fit this machine. Values of `--resources` take precedence.
if STARTS_JOBS_HERE:
    for name, amount in {"gpu": max(1, GPUS_HERE), "mem_mb": machine_memory_mb()}.items():
        if name not in workflow.global_resources:
            workflow.register_resource(name, amount)


resource_scopes:
    gpu="local",
    mem_mb="local",


# Schedulers know GPUs and memory by different resources. Among the default-resources of a profile, `gpu_resources` names
# those that request a GPU, for rules with a GPU only, and `memory_resource` the one that equals `mem_mb`.
DEFAULTS = {name: resource.raw for name, resource in (workflow.resource_settings.default_resources or {}).items()}
if "gpu_model" in DEFAULTS:
    raise WorkflowError(
        "gpu_model among the default-resources requests a GPU for every job, also for those that use none. Write "
        f"gpu_resources: gpu_model={DEFAULTS['gpu_model']} in its place."
    )
try:
    GPU_RESOURCES = {"gpu": 1, **parse_resources(DEFAULTS.get("gpu_resources") or "")}
    if not LOCAL:
        check_python()
except FeaturePathsError as error:
    raise WorkflowError(error) from None


def cluster_group(name):
    """Return the group whose jobs a cluster runs in one job; on this machine they run one by one.

    Either all jobs of a group use a GPU or none does: Snakemake cannot add up the words by which they request it.
    """
    return None if LOCAL else name


def gpu_if(used):
    """Return the resources that request a GPU for a job that can use one, unless the experiment uses none."""
    return GPU_RESOURCES if used and USES_GPU else {}


@cache
def partitions():
    """Return the limits of the partitions that the SLURM plugin chooses from; none for other executors."""
    path = getattr(workflow.executor_settings, "partition_config", None)
    if path is None:
        return []
    from snakemake_executor_plugin_slurm.partitions import read_partition_file

    return [partition.limits for partition in read_partition_file(path)]


def resources_of(name, times=1, gpu=False):
    """Return the resources of a job that does `times` times what the estimator's method `name` estimates.

    Every attempt requests more memory (MB) and time (minutes), up to what the largest partition has. The first request of
    memory is never cut: such a job would only be killed. A job that is ended at its time limit resumes.
    """
    gpu, method = gpu_if(gpu), getattr(ESTIMATOR, name)

    @cache
    def first_request(*arguments):
        needs = method(*arguments)
        return needs, largest_partition(partitions(), len(gpu) > 0, needs.mb)

    def request(w):
        return first_request(*(len(gpu) > 0 if key == "gpu" else getattr(w, key) for key in parameters_of(method)))

    def mem_mb(w, attempt):
        needs, largest = request(w)
        return int(min(attempt * needs.mb, largest.mb))

    def runtime(w, attempt):
        needs, largest = request(w)
        return int(min(attempt * times * needs.minutes, largest.minutes))

    memory = dict.fromkeys(filter(None, ["mem_mb", DEFAULTS.get("memory_resource")]), mem_mb)
    return {**memory, "runtime": runtime, **gpu, "gpu_resources": None, "memory_resource": None}


def on_device(name):
    """Return the resources of a job that runs a network, with the device to run on."""
    return {"device": EXPERIMENT.device, **resources_of(name, gpu=True)}
