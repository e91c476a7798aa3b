//! Mistakes of control that the simulation must find: see [`policy::reload::planted`], which has those of the
//! conversation with the shards.

policy::planted! { "sim":
    /// The submitter is answered before the journal has it.
    AnsweredBeforeWritten,
    /// Who wants what runs already is told so before the journal has it.
    UnchangedBeforeWritten,
    /// A job of which nothing could be written is never answered.
    UnsavedForgotten,
    /// A rider that was refused is told that it is in force.
    RefusedRiderIsApplied,
    /// A rider that a document supersedes is told that it is in force.
    SupersededRiderIsApplied,
    /// What the last rider wants is not in the generation.
    LastRiderForgotten,
    /// The last that waits for the interval is not taken along, and nobody is told.
    LastGatheredForgotten,
    /// Drift goes on being measured from the document before.
    BaseNotMoved,
    /// An order moves what drift is measured from.
    BaseMovedByOrders,
    /// What others have put in force while it was under way is taken back by a job.
    OthersTakenBack,
    /// In a burst nobody asks which generation a rider wants.
    WantedGenerationIgnored,
    /// A job asks for the generation that it wants when it comes, and not again when its turn has come.
    WantedGenerationNotAskedAgain,
    /// Who overtakes leaves the number behind for what comes after.
    OvertakenKeepsNumber,
    /// Jobs that change what belongs to no pool run together, each built without the other.
    SettingsInNoLine,
    /// A pool that comes is claimed by nobody.
    NewPoolInNoLine,
    /// A document that is made of what was before it supersedes the documents before it.
    MergedSupersedes,
    /// Who wants what others of a burst have brought is told that it is there, though they came to nothing.
    HangsOnNothing,
    /// Those of a burst that take each other back are told that nothing has changed.
    TakenBackIsUnchanged,
    /// Documents move what drift is measured from in the order of their ends.
    BasesInAnyOrder,
    /// The last that was written is not read.
    LastEntryForgotten,
    /// The first number of a process is the last of the one before.
    NumbersReused,
    /// To go back to a generation is to go back to the one before.
    RollsBackToAnother,
    /// The journal says that it has gone back to the one before.
    RollbackWrittenAsAnother,
    /// Slots of what does not come into force are given to nobody any more.
    DiscardedSlotsKept,
}
