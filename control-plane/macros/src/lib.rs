//! The test attribute of kubeplane.
//!
//! ```text
//!   #[kubeplane::test]                       #[test]
//!   async fn it(cluster: TestCluster) { } -> fn it() { a runtime; TestCluster::start(); body; stop }
//! ```

use proc_macro::TokenStream;
use quote::quote;
use syn::{ItemFn, parse_macro_input};

/// Runs an async test with a control plane of its own.
///
/// The function takes one argument, the started `kubeplane::testing::TestCluster`, or none. The cluster is
/// stopped when the test ends, also when it panics.
///
/// ```ignore
/// #[kubeplane::test]
/// async fn lists_nothing(cluster: TestCluster) {
///     let pods: kube::Api<Pod> = kube::Api::default_namespaced(cluster.client());
///     assert!(pods.list(&Default::default()).await.unwrap().items.is_empty());
/// }
/// ```
#[proc_macro_attribute]
pub fn test(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let ItemFn { attrs, vis, sig, block } = function;
    if sig.asyncness.is_none() {
        let error = syn::Error::new_spanned(sig.fn_token, "the test must be an async fn");
        return error.to_compile_error().into();
    }
    if sig.inputs.len() > 1 {
        let error = syn::Error::new_spanned(&sig.inputs, "the test takes the cluster and nothing else");
        return error.to_compile_error().into();
    }
    let (name, inputs, output) = (&sig.ident, &sig.inputs, &sig.output);
    let call = if inputs.is_empty() {
        quote! { body().await }
    } else {
        quote! { body(cluster.clone()).await }
    };
    quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() #output {
            async fn body(#inputs) #output #block
            ::kubeplane::testing::run(async |cluster| { let _ = &cluster; #call })
        }
    }
    .into()
}
