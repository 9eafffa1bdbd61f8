//! Sends the topics' batches: to local members by reference, and once to each other worker.
//!
//! A worker whose mailbox has no room gets its batch later; other workers do not wait for it.

use bytes::Bytes;
use naksi_core::callbacks::SessionOutput;
use naksi_core::reason::DisconnectReason;
use naksi_os::port::Port;

use super::Worker;
use crate::session::Factory;
use crate::session::context::WorkerContext;
use crate::shared::mailbox::{Mailbox, Message};
use crate::shared::stats::Counters;
use crate::topic::{Owed, Post};

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    /// Sends the topics' batches: to local members by reference, to other workers once each. A worker without room
    /// gets its batches later, in order; if its backlog grows too large, its members of the topic end with
    /// [`DisconnectReason::Lagged`].
    pub(crate) fn flush_topics(&mut self) {
        let Self { context, service_core, .. } = self;
        let has_room = |worker: usize| service_core.mailboxes[worker].has_room();
        context.topics.pay(has_room, |worker, owed| match owed {
            Owed::Post(post) => send_post(&service_core.mailboxes[worker], &context.counters, post),
            Owed::Lagged(topic) => service_core.mailboxes[worker].push(Message::Lagged { topic }),
        });
        for number in self.context.topics.take_dirty() {
            let Some(topic) = self.context.topics.topic(number) else { continue };
            let Some(flushed) = self.context.topics.freeze(number) else { continue };
            self.context.counters.broadcasts.add(flushed.messages);
            let own = self.index;
            for worker in topic.workers().filter(|worker| *worker != own) {
                let post = Post { topic: number, bytes: flushed.bytes.clone(), messages: flushed.messages };
                self.post_batch(worker, post);
            }
            self.deliver(number, &flushed.bytes, flushed.messages, Some(flushed.epoch));
            self.context.topics.tidy(number);
        }
    }

    fn post_batch(&mut self, worker: usize, post: Post) {
        let mailbox = &self.service_core.mailboxes[worker];
        let WorkerContext { topics, counters, .. } = &mut self.context;
        if !topics.owes(worker) && mailbox.has_room() {
            return send_post(mailbox, counters, post);
        }
        let messages = post.messages;
        if !topics.owe(worker, post) {
            counters.dropped.add(messages);
        }
    }

    /// Ends the local members of a topic that have missed a batch, after what was queued for them before.
    pub(crate) fn end_lagging_members(&mut self, number: u64) {
        let mut members = std::mem::take(&mut self.members);
        self.context.topics.members_into(number, &mut members);
        for member in &members {
            self.end_in_order(*member, DisconnectReason::Lagged);
        }
        self.members = members;
    }

    /// Queues a batch, which counts its own memory, for every local member. `epoch`: of a local batch, of which
    /// members may have received a part.
    pub(crate) fn deliver(&mut self, number: u64, bytes: &Bytes, messages: u64, epoch: Option<u64>) {
        let mut members = std::mem::take(&mut self.members);
        self.context.topics.members_into(number, &mut members);
        let ticks = self.service_core.flush;
        let mut queued = 0;
        for member in &members {
            let its = self.with_session(member.slot(), member.generation(), |session, cx, callbacks| {
                // A batch that has waited for its tick does not wait for a session's tick of the same span.
                let leaves_now = session.flush() == ticks;
                let send = |output: &mut SessionOutput<'_>, bytes: &Bytes| {
                    let sent = output.send_counted(bytes);
                    if leaves_now {
                        output.flush();
                    }
                    sent
                };
                let shown = epoch.and_then(|epoch| {
                    let mut mine = callbacks.memberships.iter();
                    mine.find(|mine| mine.number() == number).map(|mine| mine.shown(epoch))
                });
                let shown = shown.unwrap_or_default();
                let sent = match shown.bytes {
                    0 => session.with_output(cx, callbacks, |_, mut output| send(&mut output, bytes)),
                    from if from < bytes.len() => session
                        .with_output(cx, callbacks, |_, mut output| send(&mut output, &bytes.slice(from..))),
                    _ => return 0,
                };
                callbacks.context.counters.told(sent, messages - shown.messages)
            });
            queued += its.unwrap_or(0);
        }
        self.context.counters.deliveries.add(queued);
        self.members = members;
    }
}

fn send_post<P: Port>(mailbox: &Mailbox<P>, counters: &Counters, post: Post) {
    let Post { topic, bytes, messages } = post;
    counters.posts.add(1);
    mailbox.push(Message::Batch { topic, bytes, messages });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    use naksi_core::id::SessionId;
    use naksi_core::limits::Limits;
    use naksi_core::send_queue::SendStatus;
    use naksi_os::OsPort;
    use naksi_os::port::PortOptions;

    use thin_vec::ThinVec;

    use crate::session::{ConnectionInfo, Session};
    use crate::shared::core::ServiceCore;
    use crate::shared::handle::ServiceInner as _;
    use crate::topic::LocalTopics;

    struct Quiet;

    impl Session for Quiet {}

    /// The first of two workers, and their shared core.
    fn first_of_two() -> (Worker<OsPort, impl Factory>, Arc<ServiceCore<OsPort>>) {
        let service_core = Arc::new(ServiceCore::new(2, Limits::default()));
        let make = Arc::new(|_: &ConnectionInfo| Quiet);
        let options = PortOptions { lease_count: 2, ..PortOptions::default() };
        let port = OsPort::open(&options).expect("a port of this system");
        (Worker::new(0, port, Arc::clone(&service_core), make), service_core)
    }

    /// What the other worker has been posted.
    fn posted(service_core: &ServiceCore<OsPort>) -> Vec<Bytes> {
        let batches =
            std::iter::from_fn(|| service_core.mailboxes[1].pop()).filter_map(|message| match message {
                Message::Batch { bytes, .. } => Some(bytes),
                _ => None,
            });
        batches.collect()
    }

    /// Local members get it before they end; the other worker drains on its own.
    #[test]
    fn what_was_broadcast_before_a_drain_is_posted_when_it_begins() {
        let (mut worker, service_core) = first_of_two();
        let topic = service_core.topic(7);
        let mut of_other = LocalTopics::new(1, service_core.limits.send_queue_bytes_max, Arc::default());
        of_other.join(&topic, SessionId::new(1, 0, 0), &mut ThinVec::new());
        assert_eq!(worker.context.topics.append(&topic, &[b"last"]), SendStatus::Queued);
        worker.begin_drain(Duration::from_secs(1));
        assert_eq!(posted(&service_core), [b"last".as_slice()]);
    }

    /// The other worker may read at any moment: room that appears between two posts is not for the later one.
    #[test]
    fn a_batch_waits_behind_one_that_another_worker_is_still_owed() {
        let (mut worker, service_core) = first_of_two();
        let post = |text: &'static [u8]| Post { topic: 7, bytes: Bytes::from_static(text), messages: 1 };
        assert!(worker.context.topics.owe(1, post(b"older")));
        worker.post_batch(1, post(b"newer"));
        assert!(service_core.mailboxes[1].pop().is_none(), "it overtook what the worker is owed");
        worker.flush_topics();
        assert_eq!(posted(&service_core), [b"older".as_slice(), b"newer"]);
        assert!(!worker.context.topics.owes(1), "and nothing is owed any more");
    }
}
