//! The proof of the suite: every mutant fails a case, and every case is failed by a mutant.

use crate::mutants::{MUTANTS, Mutant};
use kubeplane_store_trait::conformance::{Case, Factory, ModelFactory, cases};
use std::{collections::BTreeSet, panic::AssertUnwindSafe, time::Duration};

/// How long a case may take, in time that only passes when nothing else can.
const DEADLINE: Duration = Duration::from_secs(600);

/// Whether the store passes the case.
fn passes(case: &Case, factory: &dyn Factory) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let run = AssertUnwindSafe(|| {
        runtime.block_on(async { tokio::time::timeout(DEADLINE, case.run(factory)).await.is_ok() })
    });
    std::panic::catch_unwind(run).unwrap_or(false)
}

fn failed((_, factory): &Mutant) -> Vec<&'static str> {
    let failed = cases().iter().filter(|case| !passes(case, &*factory()));
    failed.map(Case::name).collect()
}

#[test]
fn every_mutant_fails_a_case_and_every_case_is_failed() {
    for case in cases() {
        assert!(passes(case, &ModelFactory::default()), "the model fails {}", case.name());
    }
    let mut unnoticed = Vec::new();
    let mut proved = BTreeSet::new();
    let mut table = String::new();
    for mutant in MUTANTS {
        let failed = failed(mutant);
        table +=
            &format!("{:33} {}\n", mutant.0, failed.join("\n                                  "));
        if failed.is_empty() {
            unnoticed.push(mutant.0);
        }
        proved.extend(failed);
    }
    let unproved: Vec<_> =
        cases().iter().map(Case::name).filter(|name| !proved.contains(name)).collect();
    eprintln!("{table}{} mutants, {} cases", MUTANTS.len(), cases().len());
    assert!(unnoticed.is_empty(), "no case notices {unnoticed:?}");
    assert!(unproved.is_empty(), "no mutant fails {unproved:?}");
}
