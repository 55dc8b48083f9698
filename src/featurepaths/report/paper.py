"""The paper's own numbers on CIFAR-10, to stand beside measured ones. Fractions; its Tables 2 to 4 and section 3."""

ACCURACY = {
    ("resnet20", "standard", "undefended"): (0.9203, 0.0491),
    ("resnet20", "adversarial", "undefended"): (0.7764, 0.5294),
    ("resnet20", "standard", "feature paths"): (0.8277, 0.4417),
    ("resnet18", "standard", "undefended"): (0.9224, 0.0490),
    ("resnet18", "adversarial", "undefended"): (0.7848, 0.5074),
    ("resnet18", "standard", "feature paths"): (0.8001, 0.4610),
}
"""Clean and adversarial accuracy by architecture, training and method (Tables 2 and 4)."""

COMBINATIONS = {
    ("resnet20", "2+3"): 0.3716,
    ("resnet20", "2+4"): 0.3626,
    ("resnet20", "3+4"): 0.43,
    ("resnet20", "2+3+4"): 0.4417,
    ("resnet18", "2+3"): 0.3794,
    ("resnet18", "2+4"): 0.3847,
    ("resnet18", "3+4"): 0.4512,
    ("resnet18", "2+3+4"): 0.4610,
}
"""Accuracy on flagged adversarial images by architecture and voting layers (Table 3)."""

DETECTION_RATE = {"resnet20": 0.8028, "resnet18": 0.828}
"""Share of adversarial images detected, by architecture (sections 3.1.1 and 3.2.1)."""

THRESHOLD = 0.6855
"""The detection threshold of both networks."""
