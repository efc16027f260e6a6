"""The Kubeflow side: container components, compile-time profiles, KFP's metadata. Only compiling needs kfp itself."""
