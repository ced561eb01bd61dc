"""What staff see of chats: how many answers of each model were marked, and no words."""

import pytest
from django.urls import reverse

from chat.models import Message, RatedModel, Rating, with_marks
from chat.versions import rate_answer
from tests.support.cast import answered_talk

pytestmark = pytest.mark.django_db
PAGE = reverse("admin:chat_ratedmodel_changelist")


def test_the_report_counts_marks_by_model(alice, charlie, catalogue, staff, client, django_assert_num_queries):
    for user, rating in ((alice, Rating.GOOD), (alice, Rating.GOOD), (charlie, Rating.BAD), (charlie, None)):
        answered_talk(user, catalogue)
        rate_answer(answer=Message.objects.latest("pk"), rating=rating)
    marks = {model.key: (model.good, model.bad) for model in with_marks(RatedModel.objects.all())}
    assert marks.pop(catalogue.key) == (2, 1)
    assert set(marks.values()) == {(0, 0)}
    client.force_login(staff)
    page = client.get(PAGE).content.decode()
    assert "67 %" in page
    assert "secret" not in page
    with django_assert_num_queries(1):
        list(with_marks(RatedModel.objects.all()))
