#[kubeplane::test(controllers, scheduler, simulated_nodes = 100)]
async fn it_scales(cluster: TestCluster) {
    let client = cluster.client();      // a kube::Client, in this process: no port, no file to find
}
