"""The budget of an AutoPGD attack, from a stage's settings: what the stages that search share."""

from dataclasses import fields

from featurepaths.attacks.radius import check_radius


def budget_of(settings, description, device):
    """Return the budget, in pixel values, for the network that a checkpoint's description is of.

    See `eps_space` of the configuration's attacks. FeaturePathsError if no two images are as far apart as the radius.
    """
    import torch

    from featurepaths.attacks.apgd import Budget

    values = {field.name: settings[field.name] for field in fields(Budget)}
    budget = Budget(**values | {key: settings.number(key) for key in ("eps", "step")})
    if settings["eps_space"] == "normalized":
        budget = budget.scaled(torch.tensor(description["build"]["std"], device=device).view(-1, 1, 1))
    check_radius("eps", budget.smallest_eps, budget.norm, description["image_shape"])
    return budget
