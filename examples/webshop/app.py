"""A small web shop: Flask, and a database by SQLAlchemy.

Make the database once, and then serve with four workers. The page at http://127.0.0.1:9464/ shows all of them:

    pip install flask gunicorn sqlalchemy
    cd examples/webshop
    flask --app app init-db
    encore run --port 9464 -- gunicorn -w 4 app:app

    curl http://127.0.0.1:8000/products
    curl -d product=tea -d number=2 http://127.0.0.1:8000/orders
    curl -d product=tea -d number=1000000 http://127.0.0.1:8000/orders  # out of stock: a rollback

Ctrl-C ends it. The summary then has the orders of all workers, and the place of the rollbacks.
"""

import os
from typing import Any

from flask import Flask, request
from sqlalchemy import ForeignKey, create_engine, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ.get("DATABASE_URL", "sqlite:///shop.db"))
Session = sessionmaker(engine)


class Base(DeclarativeBase):
    """The tables of the shop."""


class Product(Base):
    """A product of the shop, and its stock."""

    __tablename__ = "products"

    name: Mapped[str] = mapped_column(primary_key=True)
    stock: Mapped[int]


class Order(Base):
    """An order of one product."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(ForeignKey(Product.name))
    number: Mapped[int]


class OutOfStockError(Exception):
    """There are fewer pieces than were ordered."""


@app.cli.command("init-db")
def init_db() -> None:
    """Make the database."""
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with Session.begin() as session:
        session.add_all([Product(name="tea", stock=1000), Product(name="coffee", stock=1000)])


@app.get("/products")
def products() -> Any:
    """Return the stock of all products."""
    with Session() as session:
        return {product.name: product.stock for product in session.scalars(select(Product))}


@app.get("/products/<name>")
def product(name: str) -> Any:
    """Return the stock of a product."""
    with Session() as session:
        found = session.get(Product, name)
    return ({found.name: found.stock}, 200) if found else ({"error": f"no product {name!r}"}, 404)


@app.post("/orders")
def order() -> Any:
    """Take an order, unless there are too few pieces."""
    name, number = request.form["product"], int(request.form["number"])
    with Session.begin() as session:
        session.execute(insert(Order).values(product=name, number=number))
        bought = update(Product).where(Product.name == name).values(stock=Product.stock - number)
        left = session.scalar(bought.returning(Product.stock))
        if left is None or left < 0:
            raise OutOfStockError(name)
    return {"ordered": number}, 201


@app.errorhandler(OutOfStockError)
def out_of_stock(error: OutOfStockError) -> Any:
    """Explain a refused order."""
    return {"error": f"too few pieces of {error}"}, 409
