"""How good a model is: metrics, intervals, and tests of whether two models differ."""
