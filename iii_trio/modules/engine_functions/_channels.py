"""`engine::channels::create` (wire-protocol 10.1)."""

import attrs

from iii_trio.kernel import Call, ChannelRegistry
from iii_trio.modules.built_in import BuiltIn
from iii_trio.protocol import Json

from . import _schemas as schemas
from ._inputs import NewChannel


@attrs.frozen
class ChannelCreation:
    """Makes data channels for workers."""

    channels: ChannelRegistry

    def built_ins(self) -> tuple[BuiltIn, ...]:
        return (
            BuiltIn.of(
                "engine::channels::create",
                "Makes a data channel; returns what opens its writing and its reading end.",
                NewChannel,
                schemas.CHANNEL,
                self.create,
            ),
        )

    def create(self, _: Call, asked: NewChannel) -> Json:
        """A channel with nobody at its ends. Raises Overloaded."""
        channel = self.channels.create(asked.buffer_size)
        return {"writer": channel.ref("write"), "reader": channel.ref("read")}
