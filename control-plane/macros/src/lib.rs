//! The test attribute of kubeplane.
//!
//! ```text
//!   #[kubeplane::test(nodes = 1)]            #[test]
//!   async fn it(cluster: TestCluster) { } -> fn it() { testing::run(TestCluster::builder().nodes(1), body) }
//! ```

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::{Error, ItemFn, Meta, Token, parse::Parser, punctuated::Punctuated, spanned::Spanned};

/// Runs an async test with a control plane of its own.
///
/// The function takes one argument, the started `kubeplane::testing::TestCluster` or its administrator's
/// `kube::Client`, or none. The cluster is stopped when the test ends, also when it panics; a part that failed fails
/// the test. What the function returns is a `kubeplane::testing::Outcome`: nothing, a `Result` or an `ExitCode`. A test
/// that fails, by a panic or an error, tells its seed, the planned faults and the last writes.
///
/// In parentheses stand the parts it has beside the API server, as methods of its builder are called:
/// `controllers`, `scheduler`, `listen`, `paused`, `nodes = 2`, `simulated_nodes = 1000`, `seed = 7`,
/// `controllers_named = "deployment-controller,replicaset-controller"`.
///
/// ```ignore
/// #[kubeplane::test(controllers)]
/// async fn every_namespace_has_its_account(cluster: TestCluster) {
///     let accounts: kube::Api<ServiceAccount> = kube::Api::default_namespaced(cluster.client());
///     kube::runtime::wait::await_condition(accounts, "default", exists()).await.unwrap();
/// }
/// ```
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = expand(arguments.into(), item.into());
    expanded.unwrap_or_else(Error::into_compile_error).into()
}

fn expand(arguments: Tokens, item: Tokens) -> syn::Result<Tokens> {
    let parts = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(arguments)?;
    let parts: Vec<_> = parts.iter().map(part).collect::<syn::Result<_>>()?;
    let ItemFn { attrs, vis, sig, block } = syn::parse2(item)?;
    if sig.asyncness.is_none() {
        return Err(Error::new_spanned(sig.fn_token, "the test must be an async fn"));
    }
    if sig.inputs.len() > 1 {
        return Err(Error::new_spanned(&sig.inputs, "the test takes the cluster and nothing else"));
    }
    let (name, inputs, output) = (&sig.ident, &sig.inputs, &sig.output);
    let test = match inputs.is_empty() {
        true => quote!(async |_| body().await),
        false => quote!(async |cluster| body(::core::convert::Into::into(cluster)).await),
    };
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() #output {
            async fn body(#inputs) #output #block
            ::kubeplane::testing::run(::kubeplane::testing::TestCluster::builder() #(#parts)*, #test)
        }
    })
}

/// Methods of the builder without an argument.
const WORDS: [&str; 4] = ["controllers", "scheduler", "listen", "paused"];
/// Methods of the builder with one.
const VALUES: [&str; 4] = ["nodes", "simulated_nodes", "seed", "controllers_named"];

/// The call of the builder that a part stands for.
fn part(part: &Meta) -> syn::Result<Tokens> {
    let name = part.path();
    match part {
        Meta::Path(_) if WORDS.iter().any(|known| name.is_ident(known)) => {
            Ok(quote_spanned!(part.span()=> .#name()))
        }
        Meta::NameValue(pair) if VALUES.iter().any(|known| name.is_ident(known)) => {
            let value = &pair.value;
            Ok(quote_spanned!(part.span()=> .#name(#value)))
        }
        _ => {
            let values = VALUES.map(|name| format!("{name} = ..."));
            let expected = format!("expected one of {}, {}", WORDS.join(", "), values.join(", "));
            Err(Error::new_spanned(part, expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Tokens, expand};
    use quote::quote;

    fn error(arguments: Tokens, item: Tokens) -> String {
        expand(arguments, item).unwrap_err().to_string()
    }

    #[test]
    fn parts_become_calls_of_the_builder() {
        let item = quote!(
            async fn it(cluster: TestCluster) {}
        );
        let expanded = expand(quote!(controllers, nodes = 2), item).unwrap().to_string();
        let builder = quote!(TestCluster::builder().controllers().nodes(2), async).to_string();
        assert!(expanded.contains(&builder), "{expanded}");
    }

    #[test]
    fn what_is_no_test_is_refused() {
        let test = quote!(
            async fn it() {}
        );
        let known = "expected one of controllers, scheduler, listen, paused, nodes = ..., simulated_nodes = ..., \
            seed = ..., controllers_named = ...";
        for unknown in [quote!(kubelet), quote!(nodes), quote!(controllers = 1), quote!(nodes(1))] {
            assert_eq!(error(unknown, test.clone()), known);
        }
        assert_eq!(
            error(
                quote!(),
                quote!(
                    fn it() {}
                )
            ),
            "the test must be an async fn"
        );
        let two = quote!(
            async fn it(a: TestCluster, b: TestCluster) {}
        );
        assert_eq!(error(quote!(), two), "the test takes the cluster and nothing else");
    }
}
