"""Originals against their perturbations: memorised or reasoned?"""
