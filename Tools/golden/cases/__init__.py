"""One random case per call for each op: `f(rng, index)` gives the arguments of the model of the same name. Arrays become
tensors of the case's file, numbers its parameters. Draws favour the ends of every range; the index walks through the modes."""
