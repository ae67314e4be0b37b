"""Snakemake wrapper of `dedl-fastai predict`: fields in, a folder of results out."""

from snakemake.shell import shell

run = snakemake.input.get("run", "nuclei")
images = snakemake.input.images
extra = snakemake.params.get("extra", "")
log = snakemake.log_fmt_shell(stdout=True, stderr=True)

shell(
    "OMP_NUM_THREADS={snakemake.threads} "
    "dedl-fastai predict {run:q} {images:q} --out {snakemake.output[0]:q} {extra} {log}"
)
