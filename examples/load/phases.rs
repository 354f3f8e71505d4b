//! What is measured, in groups that share what is there before.

mod extend;
mod read;
mod watch;
mod write;

use super::{meter::Sample, server::Server};
use anyhow::Result;
use futures::future::{BoxFuture, FutureExt, ready};

/// The sizes of the load.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) concurrency: usize,
    pub(crate) objects: usize,
    pub(crate) pods: usize,
    pub(crate) watchers: usize,
    pub(crate) informers: usize,
    pub(crate) definitions: usize,
}

type Run<T> = for<'a> fn(&'a Server, &'a Plan) -> BoxFuture<'a, Result<T>>;

/// One thing to measure.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) run: Run<Sample>,
}

/// Phases that run one after the other on what `fill` left; each round leaves it as it was.
pub(crate) struct Group {
    pub(crate) fill: Run<()>,
    /// Whether a phase needs those before it.
    pub(crate) chained: bool,
    pub(crate) phases: &'static [Phase],
}

macro_rules! phases {
    ($($name:literal => $run:path),* $(,)?) => {
        &[$(Phase { name: $name, run: |server, plan| $run(server, plan).boxed() }),*]
    };
}

pub(crate) fn groups() -> [Group; 4] {
    [
        Group {
            fill: |_, _| ready(Ok(())).boxed(),
            chained: true,
            phases: phases! {
                "create" => write::create,
                "get" => write::get,
                "patch strategic" => write::strategic,
                "patch apply" => write::apply,
                "patch status" => write::status,
                "delete" => write::delete,
                "lease create" => write::lease_create,
                "lease update" => write::lease_update,
                "lease delete" => write::lease_delete,
            },
        },
        Group {
            fill: |server, plan| read::fill(server, plan).boxed(),
            chained: false,
            phases: phases! {
                "list json" => read::json,
                "list protobuf" => read::protobuf,
                "list selector" => read::selector,
                "list paged" => read::paged,
                "list metadata" => read::metadata,
                "list in flight" => read::held,
                "informers sync" => watch::sync,
                "write during sync" => watch::write_during_sync,
            },
        },
        Group {
            fill: |_, _| ready(Ok(())).boxed(),
            chained: false,
            phases: phases! { "watch fan-out" => watch::fan_out },
        },
        Group {
            fill: |server, _| extend::prepare(server).boxed(),
            chained: true,
            phases: phases! {
                "custom create" => extend::create,
                "custom delete" => extend::delete,
                "config create" => extend::free,
                "config create with policy" => extend::governed,
                "config webhook overhead" => extend::hooked,
                "definitions install" => extend::install,
                "definitions remove" => extend::remove,
            },
        },
    ]
}
