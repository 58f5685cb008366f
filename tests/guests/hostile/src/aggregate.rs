//! The honest half: every command records that it came. [`crate::misdeeds`] then spoils the answer.

use factum_sdk::prelude::*;

/// Counts its events.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Hostile {
    #[cfg_attr(feature = "reshaped", serde(rename = "count"))]
    behaved: u64,
}

/// What the guest can be told to do. The names of its misdeeds are those of its commands.
#[derive(Debug, Command, Deserialize)]
pub(crate) enum HostileCommand {
    /// One event. With `poison`, the projection falls ill of it.
    Behave {
        #[serde(default)]
        poison: Option<String>,
    },
    Spin,
    Trap,
    Panic,
    Recurse,
    EatMemory,
    HugeAnswer,
    FloodEvents,
    FloodFew,
    InvalidJson,
    WrongNext,
    LogFlood,
    EmptyEventType,
    HiddenState,
    Drift,
    Leak,
    BigEvents,
    DeepJson,
    NotANumber,
    ShiftingState,
    HugeState,
    BadText,
    WildRead,
    WildCall,
    ManyTags,
    BadTag,
    HugeType,
    HugeRejection,
    BigRejection,
    BadRejection,
    LongFault,
    LongInvalid,
    HugeLine,
    DeepState,
    GrowAtOnce,
    Scan,
    Peek,
}

#[derive(Debug, Event, Deserialize, Serialize)]
pub(crate) enum HostileEvent {
    Behaved {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        poison: Option<String>,
    },
}

impl Aggregate for Hostile {
    const NAME: &'static str = "hostile";
    const STATE_VERSION: u32 = if cfg!(feature = "state_v2") { 2 } else { 1 };
    type Command = HostileCommand;
    type Event = HostileEvent;

    fn decide(&self, command: HostileCommand, _context: &Context) -> Decision<HostileEvent> {
        let poison = match command {
            HostileCommand::Behave { poison } => poison,
            _ => None,
        };
        emit(HostileEvent::Behaved { poison })
    }

    fn evolve(&mut self, _event: HostileEvent) {
        self.behaved += 1;
    }
}
