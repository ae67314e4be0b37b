process DEDLFASTAI_PREDICT {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "dedl-fastai:0.1.0"

    input:
    tuple val(meta), path(image)
    path run // a run folder; [] for the model of nuclei that comes with the package

    output:
    tuple val(meta), path("${prefix}/*_labels.ome.tif"), emit: labels
    tuple val(meta), path("${prefix}/*_mask.ome.tif")  , emit: mask
    tuple val(meta), path("${prefix}/*_cells.csv")     , emit: cells
    tuple val(meta), path("${prefix}/*.geojson")       , emit: outlines
    path "versions.yml"                                , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def model = run ?: 'nuclei'
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    export DEDL_CACHE=\$PWD/cache MPLCONFIGDIR=\$PWD/cache OMP_NUM_THREADS=${task.cpus}
    dedl-fastai predict $model $image --out $prefix --write mask,labels,cells,geojson $args

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        dedl-fastai: \$(dedl-fastai --version)
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir $prefix
    touch $prefix/${meta.id}_labels.ome.tif $prefix/${meta.id}_mask.ome.tif
    touch $prefix/${meta.id}_cells.csv $prefix/${meta.id}.geojson

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        dedl-fastai: \$(dedl-fastai --version)
    END_VERSIONS
    """
}
