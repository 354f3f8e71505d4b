//! Controllers: the contract, the manager that runs them, and the built-in ones.
//!
//! ```text
//!   informers ──> Sources: change -> requests ──> WorkQueue ──> workers: Controller::reconcile
//!                                                     ▲                 │ Action, Retry
//!                                                     └─────────────────┘
//!   Manager: runs every selected controller, with leader election, health, metrics, as one Component
//!   builtin: the original's controllers, on exactly this interface
//! ```
//!
//! # Contract
//! A [`Controller`] is level-triggered: its `reconcile` looks at the present state, whatever change led to the request, and is right
//! however often it runs and wherever its last run was cut off. One request is worked on by one worker at a time; equal requests
//! that wait collapse into one; a failure or panic concerns its request alone. `watches` is called once, before the first.
//! [`unless_gone`] takes the absence of what is to be deleted or changed for success, [`owner_key`] tells whose an object is.
//! A [`TokenSigner`] signs what lives as long as the Secret that it names.
//!
//! # Example
//! ```
//! use async_trait::async_trait;
//! use k8s_openapi::api::core::v1::Namespace;
//! use kubeplane_client::ObjectKey;
//! use kubeplane_controllers::{Action, Context, Controller, Error, Manager, Sources};
//!
//! struct Greeter;
//!
//! #[async_trait]
//! impl Controller for Greeter {
//!     type Request = ObjectKey;
//!     type Error = Error;
//!     fn name(&self) -> &'static str {
//!         "greeter"
//!     }
//!     fn watches(&self, sources: &mut Sources<ObjectKey>) {
//!         sources.objects::<Namespace>();
//!     }
//!     async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
//!         if context.informers().of::<Namespace>().get("", &request.name).is_some() {
//!             println!("hello, {request}");
//!         }
//!         Ok(Action::Done)
//!     }
//! }
//!
//! # fn assemble(client: kube::Client) -> Result<(), Error> {
//! let manager = Manager::builder(client).add(Greeter).build()?;
//! # drop(manager);
//! # Ok(())
//! # }
//! ```
//!
//! A whole program: [a kind of your own and its controller][custom_controller].
//!
//! [custom_controller]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_controller.rs

pub mod builtin;
mod context;
mod controller;
mod error;
mod manager;
mod runner;
mod selection;
mod sources;

pub use builtin::{
    BuiltinOptions, Concurrency, LOCAL_PATH_PROVISIONER, Settings, TokenSigner, builtin,
    builtin_with, trim_pod,
};
pub use context::Context;
pub use controller::{Action, Controller, Retry};
pub use error::{Error, unless_gone};
pub use manager::{Manager, ManagerBuilder};
pub use runner::BoxController;
pub use selection::Selection;
pub use sources::{Enqueue, Sources, owner_key};
