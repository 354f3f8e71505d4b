//! The ways from the API server to nodes, also to those for which it answers by itself.

use futures::future::{BoxFuture, FutureExt, pending};
use kubeplane_handlers::{Dial, Tcp};

/// How nodes are reached. To one without a kubelet nobody connects: the API server knows what its pods say and use, and
/// tells it as long as the way there is open.
pub(crate) trait Ways: Dial {
    /// Whether the way to the node of this name is cut.
    fn is_cut(&self, node: &str) -> bool;

    /// Ends when the way to the node of this name is cut, which is at once where it is cut already.
    fn cut(&self, node: &str) -> BoxFuture<'static, ()>;
}

/// Whom the network reaches is known only to who tries.
impl Ways for Tcp {
    fn is_cut(&self, _node: &str) -> bool {
        false
    }

    fn cut(&self, _node: &str) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}
