"""One command's worth of work each: train, evaluate, find a learning rate. Glue between the rooms above and the CLI."""
