//! One line and one outcome for each request.

use crate::conn::Conn;
use crate::conns::ConnId;
use crate::serve::Shard;
use link::counters::{EndpointCounter, PoolCounter};
use policy::close::CloseReason;
use policy::record::{Record, RequestRecord, Word, Words};
use std::time::{SystemTime, UNIX_EPOCH};
use wire::tunnel::Way;

/// A request that has become a tunnel, until that is recorded.
#[derive(Debug)]
pub(crate) struct Upgraded {
    record: RequestRecord,
    words: Box<[u8]>,
    began_micros: u64,
    bytes_before: [u64; 2],
}

impl Upgraded {
    /// Memory that it takes. Unit: bytes.
    pub fn held(&self) -> u64 {
        self.words.len() as u64
    }
}

impl Shard<'_> {
    /// Called once for each request, when it ends.
    pub(super) fn record_request(&mut self, id: ConnId, reason: CloseReason) {
        let mut text = std::mem::take(&mut self.spare.words);
        if let Some(record) = self.count_request(id, reason, &mut text) {
            self.log(Record::Request(record), &text);
        }
        self.spare.words = text;
    }

    /// The request becomes a tunnel: it counts as answered, and has its line when the tunnel ends.
    pub(super) fn record_later(&mut self, id: ConnId) -> Option<Box<Upgraded>> {
        let mut text = std::mem::take(&mut self.spare.words);
        let record = self.count_request(id, CloseReason::Finished, &mut text);
        let words = text.as_slice().into();
        self.spare.words = text;
        let request = self.conns.get_mut(id)?.request.as_ref()?;
        let (began_micros, bytes_before) = (request.began_micros, request.bytes_before);
        if let Some(record) = &record {
            let (pool, endpoint) = (record.pool, record.endpoint);
            self.counters.pool(pool.0).add(PoolCounter::Tunnels, 1);
            if let Some(endpoint) = endpoint {
                self.counters.endpoint(endpoint.0).add(EndpointCounter::Tunnels, 1);
            }
        }
        Some(Box::new(Upgraded { record: record?, words, began_micros, bytes_before }))
    }

    /// The tunnel that a request became has ended.
    pub(crate) fn record_upgraded(&mut self, id: ConnId, upgraded: &Upgraded, reason: CloseReason) {
        let Upgraded { record, words, began_micros, bytes_before } = upgraded;
        self.counters.pool(record.pool.0).sub(PoolCounter::Tunnels, 1);
        if let Some(endpoint) = record.endpoint {
            self.counters.endpoint(endpoint.0).sub(EndpointCounter::Tunnels, 1);
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        let moved = Way::BOTH.map(|way| conn.bytes[way.ix()] - bytes_before[way.ix()]);
        let record = RequestRecord {
            bytes_in: moved[Way::In.ix()],
            bytes_out: moved[Way::Out.ix()],
            duration_micros: self.now_micros.saturating_sub(*began_micros),
            reason,
            ..record.clone()
        };
        self.log(Record::Request(record), words);
    }

    /// Counts the outcome, and what is to be recorded of it; its words are written to `text`.
    fn count_request(&mut self, id: ConnId, reason: CloseReason, text: &mut Vec<u8>) -> Option<RequestRecord> {
        let now_micros = self.now_micros;
        let shard = self.setup.id;
        text.clear();
        let conn = &*self.conns.get_mut(id)?;
        let Conn { request: Some(request), .. } = conn else { return None };
        let counters = self.counters.pool(conn.pool.0);
        counters.add(PoolCounter::Requests, 1);
        counters.ended(reason as usize);
        match request.status {
            100..200 => counters.add(PoolCounter::Answers1xx, 1),
            200..300 => counters.add(PoolCounter::Answers2xx, 1),
            300..400 => counters.add(PoolCounter::Answers3xx, 1),
            400..500 => counters.add(PoolCounter::Answers4xx, 1),
            500.. => counters.add(PoolCounter::Answers5xx, 1),
            // The client was told nothing.
            0..100 => {}
        }
        let began = request.began_micros;
        let duration = now_micros.saturating_sub(began);
        let since_began = |micros: u64| u32::try_from(micros.saturating_sub(began)).unwrap_or(u32::MAX);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let moved = Way::BOTH.map(|way| conn.bytes[way.ix()] - request.bytes_before[way.ix()]);
        Some(RequestRecord {
            pool: conn.pool,
            endpoint: request.served_by,
            generation: conn.number,
            client: conn.client_addr(),
            started_micros: since_epoch.saturating_sub(duration),
            connect_micros: if request.exchange.is_some() { since_began(conn.connected_micros) } else { 0 },
            first_byte_micros: if request.first_byte_micros > 0 { since_began(request.first_byte_micros) } else { 0 },
            duration_micros: duration,
            bytes_in: moved[Way::In.ix()],
            bytes_out: moved[Way::Out.ix()],
            status: request.status,
            version: request.version(),
            reason,
            violation: request.violation,
            shard,
            attempts: conn.attempts,
            reused: request.reused,
            logged: conn.logged,
            words: words(request, conn.logged, text),
        })
    }
}

/// The words of the line, written to `text`; none where there will be no line.
fn words(request: &super::Request, logged: bool, text: &mut Vec<u8>) -> Words {
    let mut words = Words::default();
    if !logged {
        return words;
    }
    let input = &request.input;
    if let Some(head) = &request.head {
        words.say(text, Word::Method, head.method.text(input));
        words.say(text, Word::Target, head.target.whole.of(input));
        words.say(text, Word::Host, head.host.map_or(b"", |host| host.whole.of(input)));
    }
    words.say(text, Word::Rule, request.names.rule());
    words.say(text, Word::Group, request.names.group());
    if let Some(head) = &request.head {
        let first = |name| head.fields.values(input, name).next().unwrap_or(b"");
        let id = if request.id.is_empty() { first(b"x-request-id") } else { &request.id };
        words.say(text, Word::RequestId, id);
        words.say(text, Word::Referer, first(b"referer"));
        words.say(text, Word::UserAgent, first(b"user-agent"));
    }
    words
}
