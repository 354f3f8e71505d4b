//! Every way to be wrong that the suite must notice, each a type.

mod durability;
mod reads;
mod watches;
mod writes;

use crate::broken::{BrokenFactory, Flaw};
use kubeplane_store_trait::conformance::Factory;

/// A mutant by name, and how to make its stores.
pub(crate) type Mutant = (&'static str, fn() -> Box<dyn Factory>);

fn factory<F: Flaw>() -> Box<dyn Factory> {
    Box::new(BrokenFactory::<F>::default())
}

macro_rules! table {
    ($($module:ident: $($mutant:ident)*;)*) => {
        /// Every mutant.
        pub(crate) const MUTANTS: &[Mutant] =
            &[$($((stringify!($mutant), factory::<$module::$mutant>)),*),*];
    };
}

table! {
    writes:
        CreateReplacesMutant UpdateIgnoresRevisionMutant DeleteIgnoresRevisionMutant
        UpdateCreatesMutant CreationIsForgottenMutant DeleteReturnsNothingMutant
        WallClockRevisionsMutant SharedRevisionsMutant LostUpdateMutant
        ConflictWithoutCurrentMutant StaleConflictMutant StaleExistsMutant
        RefusalTakesRevisionMutant LargeValuesAreCutMutant LargeValuesAreTakenMutant
        ValuesAreTextMutant CancelledWriteIsTornMutant CancelledWriteIsUndoneMutant;
    reads:
        StaleReadsMutant StaleListsMutant StaleRevisionMutant RevisionIsAheadMutant
        ExactReadsAreLatestMutant FutureReadsAreLatestMutant MovingPagesMutant
        RemainingIsMissingMutant CountIsOfEverythingMutant CountIsOfTheLatestMutant
        LimitIsIgnoredMutant ZeroLimitIsNoneMutant KeysOnlyHasValuesMutant
        ListStartIsExcludedMutant ListEndIsIncludedMutant EmptyRangeIsAllMutant
        OpenEndIsIgnoredMutant;
    watches:
        EventsAreSkippedMutant EventsComeTwiceMutant EventsAreReversedMutant
        DeletesAreSilentMutant FirstBatchIsLostMutant FromRevisionIsIgnoredMutant
        FromRevisionIsIncludedMutant FutureWatchIsRefusedMutant FutureWatchStartsNowMutant
        RangeIsIgnoredMutant WatchStartIsExcludedMutant WatchEndIsIncludedMutant
        PreviousIsMissingMutant PreviousIsTheNewMutant EarlyBookmarkMutant LateThroughMutant
        NoBookmarksMutant SplitBatchMutant SplitRevisionMutant WatchAheadOfReadsMutant
        SilentLagMutant LagGoesOnMutant LagWithoutErrorMutant WatcherLeakMutant;
    durability:
        CompactionIsIgnoredMutant CompactionForgetsThePointMutant
        CompactionOfTheFutureMutant CompactionTakesRevisionMutant CompactionAgainMutant
        CompactedReadsAreOldestMutant CompactedWatchStartsLateMutant
        WatchAtThePointIsRefusedMutant CompactionEndsWatchersMutant ExpiryIsIgnoredMutant
        EarlyExpiryMutant ExpiryWithoutEventMutant UpdateKeepsExpiryMutant
        ExpiryOutlivesItsEntryMutant OneChangePerRevisionMutant LostLastWriteMutant
        DirtyReadMutant LostHistoryMutant LostCompactionMutant ReusedRevisionsMutant
        LostExpiriesMutant;
}
