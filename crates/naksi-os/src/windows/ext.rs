//! The extension functions of Winsock: which ones a port has to ask for before it can serve.
//!
//! They are in no import library that can be relied on: `WSAIoctl(SIO_GET_EXTENSION_FUNCTION_POINTER)` hands
//! out each by its identifier, for the provider of the very socket that is asked. Nothing here calls them.

/// A function that is asked for by its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its name, for the line that tells of its absence.
    pub name: &'static str,
    /// Its identifier (a GUID), as `mswsock.h` has it.
    pub id: u128,
}

/// Every extension function that the port relies on.
pub const EXTENSIONS: [Extension; 6] = [
    Extension { name: "AcceptEx", id: 0xb5367df1_cbac_11cf_95ca_00805f48a192 },
    Extension { name: "GetAcceptExSockaddrs", id: 0xb5367df2_cbac_11cf_95ca_00805f48a192 },
    Extension { name: "ConnectEx", id: 0x25a207b9_ddf3_4660_8ee9_76e58c74063e },
    Extension { name: "DisconnectEx", id: 0x7fda2e11_8630_436f_a031_f536a6eec157 },
    Extension { name: "TransmitFile", id: 0xb5367df0_cbac_11cf_95ca_00805f48a192 },
    Extension { name: "WSARecvMsg", id: 0xf689d7c8_6f1f_436b_8a53_e54fe351c322 },
];
