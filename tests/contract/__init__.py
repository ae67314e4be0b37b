"""What a fastai user may type at a Learner of either task, checked alike for every loss and every input."""
