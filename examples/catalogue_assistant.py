"""Answers questions about a shop's products, which a tool looks up over HTTP.

    export CATALOGUE_URL=https://shop.example.org/api
    AI_AGENT=examples.catalogue_assistant:agent AI_MODEL=openai:gpt-5.2 roomcast up

The service at CATALOGUE_URL answers `GET /products?q=lamp` with `[{"name": "Desk lamp", "price": "39.00 EUR",
"inStock": 4}]`.
"""

import os

import aiohttp
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_ai import Agent, ToolFailed

from ai_worker.conversation import Conversation

SECONDS = 5.0


class Product(BaseModel):
    """A product as the catalogue has it."""

    model_config = ConfigDict(alias_generator=to_camel)

    name: str
    price: str
    in_stock: int


PRODUCTS = TypeAdapter(list[Product])

agent = Agent(
    deps_type=Conversation,
    instructions=(
        "You are a shop's assistant. Look products up before you speak of them; name prices and stock exactly"
        " as the catalogue has them, and say so when it has nothing or cannot be reached."
    ),
)


@agent.tool_plain
async def find_products(query: str) -> list[Product]:
    """Looks products up in the shop's catalogue.

    Args:
        query: One or two words that are likely to be in the product's name.
    """
    url = os.environ.get("CATALOGUE_URL", "http://127.0.0.1:8080").rstrip("/")
    bound = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=bound, raise_for_status=True) as http,
            http.get(f"{url}/products", params={"q": query}) as response,
        ):
            return PRODUCTS.validate_json(await response.read())
    except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
        # The model hears of it and can say so. Any other exception would end the reply as `tool_failed`.
        raise ToolFailed("The catalogue cannot be reached right now.") from error
