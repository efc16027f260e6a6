"""The Kubeflow side: container components, compile-time profiles, KFP's metadata file. Only compiling needs kfp itself."""
