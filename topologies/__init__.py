"""The networks: the scenario language, its loader, and the shipped scenarios. Touches only the file it reads."""

from topologies.loader import load, shipped
from topologies.problems import Problem, ScenarioError
from topologies.scenario import Scenario

__all__ = ["Problem", "Scenario", "ScenarioError", "load", "shipped"]
