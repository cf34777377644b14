"""The users of deploy/rabbitmq/definitions.json, in a vhost of the test's own on a real RabbitMQ."""

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
from support.definitions import DEFINITIONS, rights_of
from support.management import Management, Vhost, quoted

from busgate.bus import Address
from busgate.bus.settings import BusSettings


@dataclass(frozen=True, slots=True)
class Users:
    """Who may log in, by role. Outside of this test nobody has their names or their passwords."""

    vhost: Vhost
    root: Address
    """Of who may do everything."""
    addresses: Mapping[str, Address] = field(repr=False)

    def management(self, role: str) -> Management:
        """The management API as one of them sees it."""
        address = self.addresses[role]
        return Management(self.vhost.management.url, address.user, address.password)

    async def allow(self, role: str, **rights: str) -> None:
        """Give a role other rights than the file does; those that are not named stay."""
        await self.vhost.management.allow(self.addresses[role].user, self.vhost.name, **(rights_of(role) | rights))

    async def allow_topics(self, role: str, *, write: str, read: str, exchange: str = "busgate.calls") -> None:
        """Set which keys of an exchange of kind topic a role may write and read."""
        path = f"topic-permissions/{quoted(self.vhost.name)}/{quoted(self.addresses[role].user)}"
        await self.vhost.management.put(path, exchange=exchange, write=write, read=read)


@pytest.fixture
async def users(vhost: Vhost) -> AsyncIterator[Users]:
    """Each user of the file with its tags and its rights, under a name that is new."""
    management = vhost.management
    root = BusSettings(url=vhost.url).addresses()[0]
    addresses = {}
    try:
        for user in DEFINITIONS["users"]:
            name, password = f"{user['name']}-{secrets.token_hex(4)}", secrets.token_hex(8)
            addresses[user["name"]] = replace(root, user=name, password=password)
            await management.create_user(name, password, tags=",".join(user["tags"]))
        users = Users(vhost, root, addresses)
        for each in DEFINITIONS["permissions"]:
            await users.allow(each["user"])
        for each in DEFINITIONS["topic_permissions"]:
            await users.allow_topics(each["user"], exchange=each["exchange"], write=each["write"], read=each["read"])
        yield users
    finally:
        for address in addresses.values():
            await management.delete_user(address.user)
