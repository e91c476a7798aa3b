//! The built-in origins of the embedded default: something to balance before anything is installed.
//!
//! Each speaks two things on one port. A connection that begins like an HTTP request gets a small answer
//! that names the origin; anything else is echoed byte by byte.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Names of the origins.
pub const ORIGINS: [&str; 2] = ["a", "b"];

/// Bytes read at a time.
const BUFFER: usize = 16 << 10;

/// Most bytes of an HTTP head or a line; whoever sends more is left.
const HEAD: usize = 16 << 10;

/// Starts the origins on loopback ports of the kernel's choice, on a thread of their own that ends with
/// the process.
pub fn start() -> io::Result<Vec<SocketAddr>> {
    let listeners: Vec<_> =
        ORIGINS.iter().map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let addresses = listeners.iter().map(|listener| listener.local_addr()).collect::<Result<_, _>>()?;
    thread::Builder::new().name("sluice-demo".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut serving = tokio::task::JoinSet::new();
            for (name, listener) in ORIGINS.into_iter().zip(listeners) {
                listener.set_nonblocking(true)?;
                serving.spawn(origin(name, TcpListener::from_std(listener)?));
            }
            while serving.join_next().await.is_some() {}
            io::Result::Ok(())
        })
    })?;
    Ok(addresses)
}

async fn origin(name: &'static str, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    // A client that goes away is no news.
                    let _ = serve(name, stream).await;
                });
            }
            // Out of descriptors: some come back when connections end.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

async fn serve(name: &str, mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut read = stream.read(&mut buffer).await?;
    if !looks_like_http(&buffer[..read]) {
        while read > 0 {
            stream.write_all(&buffer[..read]).await?;
            read = stream.read(&mut buffer).await?;
        }
        return stream.shutdown().await;
    }
    let mut client = Client { input: buffer[..read].to_vec(), stream };
    while let Some(asked) = client.head().await? {
        client.skip_content(&asked).await?;
        let line = asked.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
        let body = format!("hello from origin {name}: {line}\n");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
        let content = if line.starts_with("HEAD ") { "" } else { &body };
        client.stream.write_all(format!("{head}{content}").as_bytes()).await?;
    }
    client.stream.shutdown().await
}

/// A client that speaks HTTP/1.1, which is the appliance as a rule: framed in one clear way.
struct Client {
    stream: TcpStream,
    /// Received and not yet read.
    input: Vec<u8>,
}

impl Client {
    /// The next head. `None`: the client has ended.
    async fn head(&mut self) -> io::Result<Option<String>> {
        match self.until(b"\r\n\r\n").await {
            Ok(head) => Ok(Some(head)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.input.is_empty() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn skip_content(&mut self, head: &str) -> io::Result<()> {
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        if let Some(length) = field("content-length").and_then(|length| length.parse().ok()) {
            return self.skip(length).await;
        }
        if field("transfer-encoding").is_none() {
            return Ok(());
        }
        loop {
            let line = self.until(b"\r\n").await?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                // The empty line, or trailers before it.
                while self.until(b"\r\n").await? != "\r\n" {}
                return Ok(());
            }
            self.skip(size + 2).await?;
        }
    }

    /// Reads up to this end, which is taken too.
    async fn until(&mut self, end: &[u8]) -> io::Result<String> {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|found| found == end) {
                let taken: Vec<u8> = self.input.drain(..at + end.len()).collect();
                return Ok(String::from_utf8_lossy(&taken).into_owned());
            }
            if self.input.len() > HEAD {
                return Err(io::Error::other("a head that is too long"));
            }
            self.receive().await?;
        }
    }

    async fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        loop {
            let here = self.input.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.input.drain(..here);
            bytes -= here as u64;
            if bytes == 0 {
                return Ok(());
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn looks_like_http(bytes: &[u8]) -> bool {
    [&b"GET "[..], b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS "]
        .iter()
        .any(|method| bytes.starts_with(method))
}
