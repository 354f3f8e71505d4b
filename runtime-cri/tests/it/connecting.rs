use kubeplane_runtime_cri::{CriClient, Error};

#[tokio::test]
async fn a_socket_that_is_not_there_is_unavailable_and_named() {
    let error = CriClient::connect("/nonexistent/runtime.sock").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("/nonexistent/runtime.sock") && text.contains("No such file"), "{text}");
}
