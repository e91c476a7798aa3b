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

/// Most bytes of an HTTP head; a longer one is answered as it is.
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
    loop {
        let mut head = buffer[..read].to_vec();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                more => head.extend_from_slice(&buffer[..more]),
            }
        }
        let body = format!("hello from origin {name}\n");
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
        read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
    }
}

fn looks_like_http(bytes: &[u8]) -> bool {
    [&b"GET "[..], b"HEAD ", b"POST ", b"PUT ", b"OPTIONS "].iter().any(|method| bytes.starts_with(method))
}
