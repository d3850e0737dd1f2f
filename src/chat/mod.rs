//! Chats that are answered here: the customer's words and what is known of the customer go to a model, the answer
//! comes back in pieces, and both turns are stored.
//!
//! [`Model`] is the endpoint, [`Chat::answer`] one turn. A turn runs in a task of its own, which outlives the caller
//! by as long as it takes to store what came: whoever hangs up calls the model off, and the turn is stored as
//! incomplete.

mod model;
mod sse;

use std::sync::Arc;

use connector_sdk::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

pub use model::{Answer, Model, ModelError, ModelMessage, ModelSettings};

use crate::domain::{ConversationId, OrgId};
use crate::store::Store;
use crate::store::conversations::TurnEnd;

/// Pieces that wait for a slow reader before the model is slowed down.
const AHEAD: usize = 32;

/// Answers chats, where a model is configured.
#[derive(Debug)]
pub struct Chat {
    model: Option<Model>,
    slots: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

/// Why a turn cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// No model is configured.
    NotConfigured,
    /// As many answers as are allowed are on their way.
    Busy,
}

/// The right to one answer.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What becomes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next words.
    Text(String),
    /// That was all; it is stored.
    End,
    /// There is no more; what came is stored as incomplete.
    Broken(ModelError),
}

impl Chat {
    /// With a model, or without any.
    pub fn new(model: Option<Model>, clock: Arc<dyn Clock>) -> Self {
        let slots = model.as_ref().map_or(0, Model::max_concurrent);
        Self { model, slots: Arc::new(Semaphore::new(slots)), clock }
    }

    /// The time, for ids and turns.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// A place among the answers that are on their way.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn slot(&self) -> Result<Slot, NoSlot> {
        if self.model.is_none() {
            return Err(NoSlot::NotConfigured);
        }
        Arc::clone(&self.slots).try_acquire_owned().map(Slot).map_err(|_| NoSlot::Busy)
    }

    /// The system prompt: the operator's instructions, then what is known of the customer.
    pub fn system_prompt(&self, known: &str) -> Option<ModelMessage> {
        let instructions = self.model.as_ref().and_then(Model::instructions).unwrap_or_default().trim();
        let text = match (instructions.is_empty(), known.is_empty()) {
            (true, true) => return None,
            (true, false) => known.to_owned(),
            (false, true) => instructions.to_owned(),
            (false, false) => format!("{instructions}\n\n{known}"),
        };
        Some(ModelMessage { role: "system", content: text.into() })
    }

    /// Answers a turn whose question is stored. The pieces end with [`Piece::End`] or [`Piece::Broken`]; when the
    /// receiver is dropped, the model is called off.
    pub fn answer(
        self: &Arc<Self>,
        slot: Slot,
        store: Arc<dyn Store>,
        org: OrgId,
        conversation_id: ConversationId,
        messages: Vec<ModelMessage>,
    ) -> mpsc::Receiver<Piece> {
        let (pieces, receiver) = mpsc::channel(AHEAD);
        let chat = Arc::clone(self);
        tokio::spawn(async move {
            let _until_stored = slot;
            let mut text = String::new();
            let outcome = tokio::select! {
                biased;
                () = pieces.closed() => Outcome::Gone,
                outcome = chat.pass_on(&messages, &pieces, &mut text) => outcome,
            };
            let end = TurnEnd {
                conversation_id,
                text,
                complete: matches!(outcome, Outcome::Done(Ok(()))),
                at: chat.clock.now(),
            };
            let conversation = end.conversation_id.clone();
            if let Err(error) = store.finish_turn(&org, end).await {
                tracing::error!(%org, %conversation, %error, "an answer could not be stored");
            }
            match outcome {
                Outcome::Gone => {
                    tracing::info!(%org, %conversation, "the caller left before the end of an answer")
                }
                Outcome::Done(Ok(())) => drop(pieces.send(Piece::End).await),
                Outcome::Done(Err(error)) => {
                    tracing::warn!(%org, %conversation, %error, "an answer broke off");
                    drop(pieces.send(Piece::Broken(error)).await);
                }
            }
        });
        receiver
    }

    async fn pass_on(
        &self,
        messages: &[ModelMessage],
        pieces: &mpsc::Sender<Piece>,
        text: &mut String,
    ) -> Outcome {
        let Some(model) = &self.model else { return Outcome::Done(Err(ModelError::Unreachable)) };
        let mut answer = match model.ask(messages).await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Done(Err(error)),
        };
        loop {
            match answer.next().await {
                Ok(Some(piece)) => {
                    text.push_str(&piece);
                    if pieces.send(Piece::Text(piece)).await.is_err() {
                        return Outcome::Gone;
                    }
                }
                Ok(None) => return Outcome::Done(Ok(())),
                Err(error) => return Outcome::Done(Err(error)),
            }
        }
    }
}

/// How a turn ended.
enum Outcome {
    Done(Result<(), ModelError>),
    /// Nobody listens any more.
    Gone,
}
